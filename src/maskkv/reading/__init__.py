"""Documents in plain English with questions that a quotation from the text answers."""
