"""RNNs, cells and packing functions that the tests judge."""
