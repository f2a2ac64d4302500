"""Whatever is sent to a parser, it answers with a value or with the exceptions of its contract."""
