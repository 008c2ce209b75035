"""What an evaluation shows of a task: tables, pictures, texts and sounds, a file per experiment."""
