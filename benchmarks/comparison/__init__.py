"""What libraries do after an edit: a program, the edits, how each library is used, and what was observed."""
