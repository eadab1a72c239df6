"""More than one machine: copies of the server and workers of an evaluation on a Ray cluster (`maskkv[ray]`)."""
