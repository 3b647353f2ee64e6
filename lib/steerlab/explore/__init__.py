"""The explorer as a web page: a notebook of three cells, and the server that shows it.

`server` starts Voilà on it, in the process of `steerlab explore`; `page` is what its cells call, in a
kernel of each visitor's own.
"""
