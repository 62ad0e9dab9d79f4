"""What readers of several formats share: archives, XML, numbers of texts, polygons with corners,
pictures beside a file."""
