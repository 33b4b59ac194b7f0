"""From events to sends and conversions: computed from the facts, and anew where something changed or came late."""
