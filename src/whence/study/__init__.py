"""How does the whole journey run, from one `study.toml` to one directory with a page?"""
