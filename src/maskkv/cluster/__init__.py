"""Many copies of one server behind one port, on Ray Serve; Ray is imported below this package only."""
