"""The same work as whole programs: with checkpoint, with plain tools, with other libraries."""
