"""The dashboards, as code: `python -m deploy.generate` writes what Grafana reads."""
