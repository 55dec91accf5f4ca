// LruCache: the most recently used values by key, within a bound; safe from several threads.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace hvd {

template <typename Key, typename Value>
class LruCache {
 public:
  explicit LruCache(std::size_t capacity) : capacity_(capacity) {}

  /// The value, or null. A value stays valid while its pointer is held, also when the cache drops
  /// it.
  std::shared_ptr<const Value> find(const Key& key) {
    std::lock_guard lock(mutex_);
    const auto at = places_.find(key);
    if (at == places_.end()) return nullptr;
    order_.splice(order_.begin(), order_, at->second);
    return at->second->second;
  }

  /// Keeps `value`; when another thread was first, its value stays and is returned.
  std::shared_ptr<const Value> insert(const Key& key, Value value) {
    auto shared = std::make_shared<const Value>(std::move(value));
    std::lock_guard lock(mutex_);
    const auto at = places_.find(key);
    if (at != places_.end()) return at->second->second;
    order_.emplace_front(key, shared);
    places_[key] = order_.begin();
    if (order_.size() > capacity_) {
      places_.erase(order_.back().first);
      order_.pop_back();
    }
    return shared;
  }

 private:
  using Entry = std::pair<Key, std::shared_ptr<const Value>>;
  std::mutex mutex_;
  const std::size_t capacity_;
  std::list<Entry> order_;
  std::unordered_map<Key, typename std::list<Entry>::iterator> places_;
};

}  // namespace hvd
