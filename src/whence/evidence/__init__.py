"""What kind of tie is there between a behavior and the examples that a method names?"""
