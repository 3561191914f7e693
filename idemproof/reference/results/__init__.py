"""Results: to text and back, and the proof that nothing changes on the way."""
