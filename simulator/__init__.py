"""A Klaviyo account in a box: the API with its documented limits, a flow runner, people who open and click, and the
judge that says what every email showed.

It stands alone: it imports nothing from the services it measures, and learns what it knows from their HTTP traffic.
"""
