"""Objects of a cluster: kept, and told what became of them."""
