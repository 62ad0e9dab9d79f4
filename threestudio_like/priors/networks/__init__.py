"""The networks of the priors."""
