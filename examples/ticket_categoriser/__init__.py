"""An AI tool that sorts support tickets into categories, and the people around it."""
