"""Published middlewares of other packages, each in front of one small application, and the reports on them."""
