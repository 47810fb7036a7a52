"""TAO steps. One file a verb; no verb has landed yet."""
