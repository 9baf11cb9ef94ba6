"""Routes and handlers by surface. The only place where an error becomes a response."""
