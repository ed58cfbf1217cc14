"""Does the answer hold?"""
