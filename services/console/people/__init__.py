"""Who is there: passwords, second factors, sessions, and the pages that ask for them."""
