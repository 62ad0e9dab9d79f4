"""Training data that is not made on the spot: pictures with shapes, folders of pictures, voxels."""
