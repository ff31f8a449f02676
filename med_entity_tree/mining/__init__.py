"""New entities from text: extract names, gather and cluster them, hang them onto the frozen tree."""
