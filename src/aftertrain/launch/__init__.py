"""`aftertrain run --nproc N`: starting the processes of a run, here or on Ray, and watching over them."""
