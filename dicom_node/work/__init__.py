"""The main job, durable: which steps, what they answer, what they write."""
