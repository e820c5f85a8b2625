"""What an exit is made of: operations, the genotype that names them, and the module built from a genotype."""
