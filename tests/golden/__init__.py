"""Golden cases: an input, and the expected output beside it, read in reviews as code."""
