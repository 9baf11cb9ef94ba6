"""What the tests stand on: scripted and real backends, recorded requests, small clients."""
