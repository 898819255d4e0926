"""What is in the data: what each part measures is apart from how it is drawn (`drawing/`), and the page shows both."""
