"""Scripts that fit the models of the folder above; they are not part of the installed package."""
