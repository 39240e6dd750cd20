"""What is durable, and the words for it: records, keys, objects, shards, results, live state."""
