"""What is posted, what is made of a completion, and the queue (RECEIVE.md, sections 3-8)."""
