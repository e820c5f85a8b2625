"""Pictures of a genotype: a networkx graph, its layout, and the renderers that turn it into a file."""
