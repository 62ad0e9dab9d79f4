"""Published methods as typed configurations, and what a run is made of."""
