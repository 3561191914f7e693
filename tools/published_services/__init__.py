"""Published middlewares of other packages in front of one small application, and the reports on them."""
