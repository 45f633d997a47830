// Nothing, to be imported.
