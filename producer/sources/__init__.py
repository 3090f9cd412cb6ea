"""Where pictures come from: folders, buckets, lists of names; as streams."""
