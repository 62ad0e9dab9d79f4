"""Objects as rigid bodies: mass, convex pieces, contacts, where they come to rest, balance."""
