"""Pictures of the Grafana dashboards, made from what our services say while the demo's shop has an eventful hour.

scraping    asks every service for its figures, by the shop's clock and Prometheus' own scrape file
hour        what happens: people, files, callers, and four things that go wrong
prometheus  a real Prometheus with that history; it answers the dashboards' own queries
panels      a dashboard's JSON and the answers, as what the page draws
page        draws it (page.html, page.css and page.js, with the console's chart library)
"""
