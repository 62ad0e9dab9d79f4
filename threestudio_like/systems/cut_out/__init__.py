"""Objects cut out of pictures: what the user marks, what is sought, what is told of the result."""
