"""What did the model do, and does it really do it?

`spec` reads and writes behaviors, `query` turns one into the loss that stands for it, `measure`
asks a model how likely a completion is and what it says by itself, `judges` decide whether a text
is toxic or in a style, and `verify` joins them into a verdict: shown, weak or not shown.
"""
