"""threestudio's configurations in words of this toolkit."""
