"""Many items on many machines: what is to be made, a store on any file system, workers, and a
page."""
