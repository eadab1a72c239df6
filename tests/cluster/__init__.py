"""Many copies of the server: their parts without Ray, and (slow) all of it on Ray."""
