"""Which training examples are most responsible for a behavior of a language model?"""
