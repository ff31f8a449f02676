"""Do image and text of a sample belong together? Cheap checks of both, then a judge that sees both."""
