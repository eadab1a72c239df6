"""One model over several devices of a machine (tensor parallelism): one process leads, the others follow it.

Each process holds one part of the model (`Part`), the pairs of its heads, and the whole residual stream. What is done
with an `Engine` in the first the others do with one of their own, in the same order, so that their parts meet in every
sum. Decisions are taken from numbers that are the same everywhere; what is committed is what the first process says.
"""
