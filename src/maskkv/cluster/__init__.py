"""More than one machine: what runs on a Ray cluster (`maskkv[ray]`); nothing else imports Ray."""
