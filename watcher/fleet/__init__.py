"""The replicas: who they are, and how they share shards, attempts and the polling of each shard."""
