"""What every page stands on: routes with their least role, headers, forms, errors, templates, assets."""
