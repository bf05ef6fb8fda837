"""The page: what a cluster does, in a browser, served by Bokeh on this machine alone."""
